//! Tests of the analyser as a whole.
