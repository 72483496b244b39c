module.exports = {
  // public_url of the gateway. Its host must be among the request domains in WeChat's console.
  publicUrl: "https://login.example.com",
};
