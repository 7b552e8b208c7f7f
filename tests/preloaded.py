"""What forked processes of tests have already when they begin: torch's import takes longer than all that they do."""

import tests.experiment.studies.killed
import tests.experiment.training.killed  # noqa: F401
