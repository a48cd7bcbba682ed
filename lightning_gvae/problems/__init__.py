"""Problems of searches: objectives to minimise and criteria to meet, as functions of a decoded batch."""
