"""Teaching: lectures that are played slide by slide; a class, its questions, and what students' phones ask for."""
