"""Any remote that is a tree of files: how it is published safely, whoever carries out the verbs."""
