"""What was recommended and then taken: logged answers against later interactions."""
