//! The AWS Lambda protocols: the Runtime API that a function's runtime asks for its calls, and the
//! shapes of events, answers and errors. It knows no way of running functions.
