module example.com/menshen/verify

go 1.19
