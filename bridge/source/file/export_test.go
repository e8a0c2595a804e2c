package file

// Poll is how often a log that does not grow is looked at.
const Poll = poll
