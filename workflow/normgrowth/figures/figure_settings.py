"""What a study may change about its figures. Imported whenever the workflow is parsed: no heavy imports here."""

from pydantic import Field

from normgrowth.checked import Checked


class StyleSettings(Checked):
    """Sizes and resolution of every figure."""

    panel_width: float = Field(3.4, gt=1, le=12, description="Width of a panel, in inches")
    panel_height: float = Field(2.3, gt=0.8, le=12, description="Height of a panel, in inches")
    font_size: float = Field(8.5, ge=5, le=20, description="Size of text, in points")
    dpi: int = Field(200, ge=50, le=600, description="Resolution of PNG files, in dots per inch")
