/** Holds the state, tells its listeners. */
import { initialState, reduce, type Action, type State } from "./state";

export class Store {
  private current = initialState;
  private listeners = new Set<(state: State, before: State) => void>();

  get state(): State {
    return this.current;
  }

  dispatch(action: Action): void {
    const before = this.current;
    this.current = reduce(before, action);
    if (this.current !== before) for (const listener of this.listeners) listener(this.current, before);
  }

  subscribe(listener: (state: State, before: State) => void): void {
    this.listeners.add(listener);
  }
}
