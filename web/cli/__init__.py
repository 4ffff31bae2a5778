"""What the commands of ``run_agent.py`` do."""
