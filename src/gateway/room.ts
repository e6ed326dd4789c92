/** The places for connections of all sandboxes of a host. */
export class Room {
  #free: number;

  constructor(places: number) {
    this.#free = places;
  }

  /**
   * Whether one that holds so many places has another one: it must hold fewer than are left, so that whoever comes
   * next finds some, however many have taken all they can.
   */
  take(held: number): boolean {
    if (held >= this.#free) return false;
    this.#free -= 1;
    return true;
  }

  leave(): void {
    this.#free += 1;
  }
}
