"""Under which headings the options of a command stand in its help."""

INPUT, OUTPUT, DECISION, READING = "Input", "Output", "Decision", "Reading"
MACHINE, NODES, INBOX, MESSAGES = "Machine", "Many machines", "Inbox", "Messages and settings"
DATA = "Data"
NETWORK, START, LEARNING, SPLIT = "Network", "Where it starts", "Learning", "Split and check"
FIGURES, PAGE, TABLE, SHEET, RULES = "Figures", "Page", "Table of decisions", "Sheet", "Rules"
