//! qlik
