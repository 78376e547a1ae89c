"""An editor along an edit order, segment by segment: state, telemetry, checkpoints, and tables out of small files."""
