"""Jobs as typed models: what a command is given, declared once for the command line, the workflow and the command."""
