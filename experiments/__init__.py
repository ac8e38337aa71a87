"""The workbench's questions, a folder each; `peers` is a command, `timing` is shared by those that time calls."""
