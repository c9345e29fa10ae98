//! The published operations of Qlik Cloud, as data.
