//! End-to-end tests: the built program against real files, real SQLite and the standard tools as witnesses.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should say so")]

mod support;

mod adoption;
mod backup;
mod bench;
mod caution;
mod concurrency;
mod crowd;
mod damaged;
mod demo;
mod disk;
mod docs;
mod doctor;
mod errors;
mod follow;
mod foreign;
mod hostile;
mod hostile_database;
mod hostile_store;
mod increments;
mod init;
mod live;
mod place;
mod projects;
mod restore;
mod rotate;
mod secrets;
mod shapes;
mod shell;
mod status;
mod verify;
