/** The gateway's own address in every sandbox: its resolver and its proxies are there. No name ever stands for it. */
export const gatewayAddress = '198.18.0.1';
/** The same for IPv6. Nobody listens there; a host that has no such address is taken to have no IPv6. */
export const gatewayAddress6 = 'fd73:6561:6c77::1';

export const proxyPorts = { http: 3128, socks: 1080 } as const;
/** The protocol that programs speak to a proxy. */
export type ProxyKind = keyof typeof proxyPorts;
