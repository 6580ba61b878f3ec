"""Meta-classifiers: what a net's weights give away of how it was trained.

Eilertsen et al., "Classifying the classifier" (2020), section 5. All of them read
:mod:`nwslib.features`, or the weights themselves, and are judged by one
:mod:`~nwslib.meta.protocol`.
"""
