// Stands in for Daily's SDK, which only the transport's default media manager calls.
export default {};
