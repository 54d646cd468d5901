//! The wire: messages, their JSON mapping, RecordIO, and the way to and from the model.
