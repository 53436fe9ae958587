"""What all tests share."""

from hypothesis import HealthCheck, settings

# a loaded machine is no failure: nothing here is timed
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
