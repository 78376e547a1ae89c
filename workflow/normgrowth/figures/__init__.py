"""One file per figure, one style for all: `catalogue` names them, `render` draws and saves one."""
