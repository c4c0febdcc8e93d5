"""What is learnt on a frozen backbone: the frozen scorers, and the plugins that weigh them on validation targets."""
