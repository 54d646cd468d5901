//! The deciding half of the agent.
