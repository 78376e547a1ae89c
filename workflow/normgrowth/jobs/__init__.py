"""Jobs as typed models: arguments of commands, declared once for the command line, the workflow and the command."""
