package serverless

// Dispatch is for the fuzz test: on Lambda it takes whatever somebody invokes the function with.
var Dispatch = dispatch
