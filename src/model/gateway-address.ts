/** The gateway's own address in every sandbox: its resolver and its proxies are there. No name ever stands for it. */
export const gatewayAddress = '198.18.0.1';

export const proxyPorts = { http: 3128, socks: 1080 } as const;
/** The protocol that programs speak to a proxy. */
export type ProxyKind = keyof typeof proxyPorts;
