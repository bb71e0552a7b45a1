"""Tests of TwinLens. A package, since a test dependency installs one of the same name."""
