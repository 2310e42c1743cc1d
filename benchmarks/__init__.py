"""Side by side with the peers: same guest, same machine, same run; figures are ratios."""
