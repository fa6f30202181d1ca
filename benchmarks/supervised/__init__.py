"""What the topic `supervisor` is made of: the child, the supervisors that are compared, and how each thing is measured."""
