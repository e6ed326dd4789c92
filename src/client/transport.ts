/** One request. `path` starts with `/` and holds the query; a body that is a stream is sent as it comes. */
export type HttpRequest = {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | AsyncIterable<Uint8Array> | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** Header names are lower case. Leaving the body before its end ends the connection. */
export type HttpResponse = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array>;
};

/** How requests get to a server; rejects with ApiError `server.unreachable` when they do not. */
export type Transport = {
  send(request: HttpRequest): Promise<HttpResponse>;
  /** Ends idle connections, which would keep a program alive. */
  close(): void;
};
