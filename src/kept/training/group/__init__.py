"""The processes of one run: who they are, and small values between them."""
