"""A plugin for every stratum, on the frozen base and on the frozen deconfounded model."""
