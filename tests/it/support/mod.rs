//! What several topics share.

pub(crate) mod command_line;
pub(crate) mod crm;
pub(crate) mod past;
pub(crate) mod scripted_server;
pub(crate) mod scripted_transport;
