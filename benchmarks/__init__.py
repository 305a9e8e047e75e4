"""Speed, always as a ratio within one run: timings of one machine mean little by themselves."""
