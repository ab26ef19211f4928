"""What every test may use: nothing but settings that all of them share."""

from hypothesis import settings

# An example may start a process or wait for a disk that others use too: only its result counts.
settings.register_profile("pyzdb", deadline=None)
settings.load_profile("pyzdb")
