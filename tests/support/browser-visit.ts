/** A browser as far as redirects, cookies and one form go: enough to sign in without one. */
export class BrowserVisit {
  /** By origin, then by name. */
  readonly #cookies = new Map<string, Map<string, string>>();

  cookiesOf(origin: string): ReadonlyMap<string, string> {
    return this.#cookies.get(origin) ?? new Map();
  }

  /** One request; redirects are not followed. */
  async ask(url: URL, form?: Readonly<Record<string, string>>): Promise<Response> {
    const jar = this.#cookies.get(url.origin) ?? new Map<string, string>();
    this.#cookies.set(url.origin, jar);
    const response = await fetch(url, {
      method: form === undefined ? 'GET' : 'POST',
      redirect: 'manual',
      headers: { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') },
      ...(form === undefined ? {} : { body: new URLSearchParams(form) }),
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (value === '' || /max-age=0|expires=Thu, 01 Jan 1970/i.test(line)) jar.delete(name);
      else jar.set(name, value);
    }
    return response;
  }

  /** Follows redirects while `goesOn` says so; what was not followed is in `location`. */
  async follow(
    url: URL,
    goesOn: (next: URL) => boolean = () => true,
    form?: Readonly<Record<string, string>>,
  ): Promise<{ url: URL; response: Response; location: URL | null }> {
    let at = url;
    let response = await this.ask(at, form);
    for (let hops = 0; hops < 20; hops += 1) {
      const header = response.headers.get('location');
      if (header === null) return { url: at, response, location: null };
      const next = new URL(header, at);
      if (!goesOn(next)) return { url: at, response, location: next };
      await response.arrayBuffer();
      at = next;
      response = await this.ask(at);
    }
    throw new Error(`too many redirects at ${at.origin}${at.pathname}`);
  }
}
