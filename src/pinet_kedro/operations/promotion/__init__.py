"""Which version is the champion: the gates, the decision, the aliases' moves."""
