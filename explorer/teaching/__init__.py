"""Teaching a class: questions, how a class goes through them, what students answer, and what their phones ask for."""
