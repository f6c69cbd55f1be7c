"""What metrics and tasks share to judge models: how a model is read, and by which sentences and laws."""
