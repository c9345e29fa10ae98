//! An embeddable scripting host that onboards customers to Qlik Cloud tenants.

pub mod contract;
pub mod event;
pub mod functions;
pub mod interpreter;
pub mod operation;
pub mod playbook;
pub mod project;
pub mod qlik;
pub mod render;
mod report;
pub mod sandbox;
pub mod store;
mod suggest;
pub mod surroundings;
