//! Behaviour through the public face. One binary, one module per topic.
mod render;
mod contract;
