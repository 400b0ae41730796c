"""The run folder and what is reported while a run goes on."""
