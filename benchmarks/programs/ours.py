"""Our runner: ``tasktools worker --app ours``."""

import noop

import tasktools as tt

tt.task(noop.noop)
