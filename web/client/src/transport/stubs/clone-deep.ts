// Stands in for lodash's cloneDeep: the transport clones one plain request object with it.
export default structuredClone;
