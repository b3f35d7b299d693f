"""Where bytes lie: one small protocol (base), a local folder, this process's memory."""
