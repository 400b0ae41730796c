"""goodness inside other libraries: a scikit-learn estimator and a Lightning module."""
