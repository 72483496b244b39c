//! A stand-in for WeChat's servers and for the phone.
