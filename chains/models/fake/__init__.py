"""A server that speaks the OpenAI API, injects faults and keeps account of what was paid."""
