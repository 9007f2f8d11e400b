"""From events to stored verdicts: kept, read in order, cut into windows, judged, told."""
