// What the owner of the mini program edits. Nothing else has to be changed.

module.exports = {
  // `public_url` of the gateway: scheme and host, without a slash at the end. Its host is among the request domains in
  // WeChat's console. Of several, the first is asked about round codes; a link code is asked about where it leads.
  gateways: ["https://login.example.com"],

  // The same for the trial and development versions. Empty: as above.
  testGateways: [],

  // Whose websites these are, as people know it: "示例公司". Shown on the start page.
  owner: "",

  // For whom, where that is not everybody: "仅供示例公司员工使用". Reviewers want to read it on the start page.
  audience: "",

  // Whom to ask when it does not work: "IT 服务台 400-000-0000". Shown where only an administrator can help.
  support: "",
};
